{{ config(materialized='incremental', unique_key='id', incremental_strategy='merge') }}
SELECT * FROM {{ ref('people') }}
{% if is_incremental() %} WHERE day >= (SELECT MAX(day) FROM {{ this }}) {% endif %}
